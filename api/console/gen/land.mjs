// Makes static/land.js: the outlines of the land as one path of an SVG, in the
// projection that static/map.js has too. Run it where the packages are:
//
//   npm install --prefix /tmp/land world-atlas@2.0.2 d3-geo@3.1.1 topojson-client@3.1.0
//   cp api/console/gen/land.mjs /tmp/land/ && node /tmp/land/land.mjs > api/console/static/land.js
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { geoNaturalEarth1, geoPath } from "d3-geo";
import { feature } from "topojson-client";

const atlas = createRequire(import.meta.url).resolve("world-atlas/land-110m.json");
const topology = JSON.parse(readFileSync(atlas, "utf8"));
const land = feature(topology, topology.objects.land);

// Antarctica has no regions and would take a sixth of the picture.
const south = -58;
const [polygons] = land.features.map((f) => f.geometry.coordinates);
const shown = polygons.filter((rings) => rings[0].some(([, lat]) => lat > south));

const width = 960;
const projection = geoNaturalEarth1().rotate([-11, 0]).fitWidth(width, { type: "Sphere" });
const top = projection([11, 84])[1];
const height = Math.ceil(projection([11, south])[1] - top);
const [x, y] = projection.translate();
projection.translate([x, y - top]).precision(0.3);

const path = geoPath(projection).digits(1)({ type: "MultiPolygon", coordinates: shown });
const [tx, ty] = projection.translate();
console.log(`// Made by gen/land.mjs from world-atlas 2.0.2 (ISC, Mike Bostock), whose data is
// Natural Earth 1:110m (public domain).
export const width = ${width}, height = ${height};
export const scale = ${projection.scale().toFixed(4)}, rotate = 11;
export const tx = ${tx.toFixed(3)}, ty = ${ty.toFixed(3)};
export const land =
  "${path}";`);
