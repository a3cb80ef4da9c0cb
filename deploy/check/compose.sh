# docker-compose takes the file of three regions; no engine is asked.
source "$CHECK_LIB"
need docker-compose docker-compose

file=$(cd "$(dirname "$CHECK_LIB")/../compose" && pwd)/compose.yaml
docker-compose -f "$file" config --quiet
equal "frankfurt tokyo washington" "$(docker-compose -f "$file" config --services | sort | xargs)" \
	"the services"
