// JSON for reading: pretty prints a text without parsing its numbers, so that
// what a person edits and saves is what was there, digit by digit.

const short = 60; // characters: arrays and objects that fit stay on one line

export function pretty(source) {
  const tokens = source.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  let at = 0;

  function value(indent) {
    const t = tokens[at++];
    if (t !== "{" && t !== "[") return t;
    const end = t === "{" ? "}" : "]", members = [];
    while (tokens[at] !== end && at < tokens.length) {
      members.push(member(end, indent + "  "));
      if (tokens[at] === ",") at++;
    }
    at++;
    if (members.length === 0) return t + end;
    const flat = t + members.join(", ") + end;
    if (flat.length <= short && !flat.includes("\n") && indent !== "") return flat;
    return `${t}\n${members.map((m) => indent + "  " + m).join(",\n")}\n${indent}${end}`;
  }

  function member(end, indent) {
    if (end === "]") return value(indent);
    const name = tokens[at];
    at += 2; // the name and its colon
    return `${name}: ${value(indent)}`;
  }

  return value("");
}
