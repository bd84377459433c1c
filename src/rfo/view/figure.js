"use strict";
// Draws the figure of an episode from three parts: rigid geoms, a deforming surface and particles.
// A part has these fields:
//   object         what three.js draws
//   show(frame)    moves the object to its state in a frame
//   points(frame)  positions [x, y, z] [m]; their mean is the middle of the figure
//   reach(centre)  largest distance from a centre in the first frame [m]
//   lowest(frame)  lowest height in a frame [m]

const data = JSON.parse(document.getElementById("data").textContent);

function floats(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

function place(object, { pos, quat }) {
  object.position.set(...pos);
  object.quaternion.set(quat[1], quat[2], quat[3], quat[0]).normalize();
  return object;
}

// ---------------------------------------------------------------- rigid geoms

/** Flat triangles between the vertices of a mesh. */
function triangleGeometry({ vertices, triangles }) {
  const corners = triangles.flat().flatMap((corner) => vertices[corner]);
  const geometry = new THREE.BufferGeometry().setAttribute(
    "position",
    new THREE.BufferAttribute(new Float32Array(corners), 3),
  );
  geometry.computeVertexNormals(); // no corner is shared, so these are the triangles' normals
  return geometry;
}

/** A wall: the part of a plane that its file gives a size, 2 m to each side where it gives none. */
function plateOf({ size: [x, y] }) {
  return new THREE.PlaneGeometry(2 * (x || 2), 2 * (y || 2));
}

function geometryOf(geom) {
  const [a, b, c] = geom.size;
  if (geom.type === "sphere") return new THREE.SphereGeometry(a, 40, 24);
  if (geom.type === "box") {
    const radius = 0.08 * Math.min(a, b, c); // rounded edges reflect the light
    return new THREE.RoundedBoxGeometry(2 * a, 2 * b, 2 * c, 3, radius);
  }
  if (geom.type === "ellipsoid") return new THREE.SphereGeometry(1, 40, 24).scale(a, b, c);
  if (geom.type === "mesh") return triangleGeometry(geom);
  if (geom.type === "plane") return plateOf(geom);
  // In MuJoCo the axis of a capsule and of a cylinder is z, in three.js it is y.
  const round =
    geom.type === "cylinder"
      ? new THREE.CylinderGeometry(a, a, 2 * b, 40)
      : new THREE.CapsuleGeometry(a, 2 * b, 12, 32);
  return round.rotateX(Math.PI / 2);
}

function meshOf(geom) {
  const [red, green, blue, alpha] = geom.rgba;
  const mesh = new THREE.Mesh(
    geometryOf(geom),
    new THREE.MeshStandardMaterial({
      color: new THREE.Color().setRGB(red, green, blue, THREE.SRGBColorSpace),
      side: ["mesh", "plane"].includes(geom.type) ? THREE.DoubleSide : THREE.FrontSide,
      transparent: alpha < 1,
      opacity: alpha,
      roughness: 0.42,
      metalness: 0.05,
    }),
  );
  mesh.castShadow = mesh.receiveShadow = true;
  return place(mesh, geom);
}

/** Part of rigid geoms on moving bodies; poses (frames, bodies, 7) are x, y, z, qw, qx, qy, qz. */
function rigid(geoms, poses) {
  const bodies = Array.from({ length: poses.length / data.frames / 7 }, () => new THREE.Group());
  const object = new THREE.Group();
  for (const body of bodies) object.add(body);
  for (const geom of geoms) (geom.body < 0 ? object : bodies[geom.body]).add(meshOf(geom));

  const moving = geoms.filter((geom) => geom.body >= 0);
  const drawn = [...new Set(moving.map((geom) => geom.body))];
  const pose = (frame, body) => poses.subarray(7 * (frame * bodies.length + body)).subarray(0, 7);
  const position = (frame, body) => pose(frame, body).subarray(0, 3);
  const extent = (geom) => Math.hypot(...geom.pos) + Math.max(...geom.size);
  return {
    object,
    show: (frame) =>
      bodies.forEach((body, i) =>
        place(body, { pos: position(frame, i), quat: pose(frame, i).subarray(3) }),
      ),
    points: (frame) => drawn.map((body) => position(frame, body)),
    reach: (centre) => {
      const far = (geom) => distance(position(0, geom.body), centre) + extent(geom);
      return Math.max(0, ...moving.map(far));
    },
    lowest: (frame) => {
      const low = (geom) => position(frame, geom.body)[2] - geom.size.reduce((x, y) => x + y);
      return Math.min(...moving.map(low));
    },
  };
}

// ---------------------------------------------------------------- surface

// Factor on the size of a soft body, so that it stays in the picture when it stretches.
const ROOM = 1.6;

const style = getComputedStyle(document.documentElement);
const shade = (name) => new THREE.Color(style.getPropertyValue(name).trim());

/** Returns a function from a value in [-1, 1] to its colour, as in the legend. */
function colouring() {
  const [negative, zero, positive] = ["--negative", "--zero", "--positive"].map(shade);
  return (value) => zero.clone().lerp(value < 0 ? negative : positive, Math.abs(value));
}

/**
 * Part of flat triangles between vertices (frames, N, 3). Their colours show the activation
 * (frames, triangles); without it all triangles have the same colour.
 */
function surface(triangles, vertices, activation) {
  const corners = triangles.flat();
  const count = vertices.length / data.frames / 3;
  const attribute = () => new THREE.BufferAttribute(new Float32Array(3 * corners.length), 3);
  const [position, colour] = [attribute(), attribute()];
  const geometry = new THREE.BufferGeometry()
    .setAttribute("position", position)
    .setAttribute("color", colour);
  const material = new THREE.MeshStandardMaterial({ vertexColors: true, roughness: 0.6 });
  const mesh = new THREE.Mesh(geometry, material);
  mesh.castShadow = mesh.receiveShadow = true;
  mesh.frustumCulled = false;

  const colourOf = colouring();
  const used = [...new Set(corners)];
  const vertex = (frame, i) => vertices.subarray(3 * (frame * count + i)).subarray(0, 3);
  const points = (frame) => used.map((i) => vertex(frame, i));
  const activationOf = (frame, triangle) =>
    activation.length ? activation[frame * triangles.length + triangle] : 0;
  const show = (frame) => {
    corners.forEach((i, corner) => position.setXYZ(corner, ...vertex(frame, i)));
    triangles.forEach((_, triangle) => {
      const { r, g, b } = colourOf(activationOf(frame, triangle));
      for (let i = 0; i < 3; i++) colour.setXYZ(3 * triangle + i, r, g, b);
    });
    position.needsUpdate = colour.needsUpdate = true;
    geometry.computeVertexNormals(); // no corner is shared, so these are the triangles' normals
  };
  return {
    object: mesh,
    show,
    points,
    reach: (centre) => ROOM * Math.max(0, ...points(0).map((point) => distance(point, centre))),
    lowest: (frame) => points(frame).reduce((low, point) => Math.min(low, point[2]), Infinity),
  };
}

// ---------------------------------------------------------------- particles

/**
 * Part of balls of one radius at positions (frames, N, 3). Their colours show the tint (frames, N);
 * without it all balls have the same colour.
 */
function particles(radius, positions, tint) {
  const count = positions.length / data.frames / 3;
  const ball = new THREE.SphereGeometry(radius, 8, 6);
  const [shape, normals, faces] = [ball.attributes.position, ball.attributes.normal, ball.index];
  const corners = shape.count;
  const attribute = () => new THREE.BufferAttribute(new Float32Array(3 * corners * count), 3);
  const [position, normal, colour] = [attribute(), attribute(), attribute()];
  const index = new Uint32Array(faces.count * count);
  for (let i = 0; i < count; i++) {
    normal.array.set(normals.array, 3 * corners * i);
    for (let j = 0; j < faces.count; j++) index[faces.count * i + j] = corners * i + faces.array[j];
  }
  const geometry = new THREE.BufferGeometry()
    .setAttribute("position", position)
    .setAttribute("normal", normal)
    .setAttribute("color", colour)
    .setIndex(new THREE.BufferAttribute(index, 1));
  const material = new THREE.MeshStandardMaterial({ vertexColors: true, roughness: 0.55 });
  const mesh = new THREE.Mesh(geometry, material);
  mesh.castShadow = mesh.receiveShadow = true;
  mesh.frustumCulled = false;

  const colourOf = colouring();
  const place = (frame, i) => positions.subarray(3 * (frame * count + i)).subarray(0, 3);
  const points = (frame) => Array.from({ length: count }, (_, i) => place(frame, i));
  const show = (frame) => {
    for (let i = 0; i < count; i++) {
      const [x, y, z] = place(frame, i);
      const { r, g, b } = colourOf(tint.length ? tint[frame * count + i] : 0);
      for (let j = 0; j < corners; j++) {
        const at = corners * i + j;
        position.setXYZ(at, x + shape.getX(j), y + shape.getY(j), z + shape.getZ(j));
        colour.setXYZ(at, r, g, b);
      }
    }
    position.needsUpdate = colour.needsUpdate = true;
  };
  return {
    object: mesh,
    show,
    points,
    reach: (centre) =>
      ROOM * Math.max(0, ...points(0).map((point) => distance(point, centre) + radius)),
    lowest: (frame) =>
      points(frame).reduce((low, point) => Math.min(low, point[2] - radius), Infinity),
  };
}

// ---------------------------------------------------------------- whole figure

const distance = (point, centre) => centre.distanceTo(new THREE.Vector3(...point));

/** Whether a geom is drawn as the checked floor, as level planes are; others are walls. */
function isFloor({ type, quat: [, x, y] }) {
  return type === "plane" && Math.hypot(x, y) < 1e-3;
}

const parts = [
  rigid(data.geoms.filter((geom) => !isFloor(geom)), floats(data.poses ?? "")),
  surface(data.triangles, floats(data.vertices ?? ""), floats(data.activation ?? "")),
  particles(data.radius, floats(data.points ?? ""), floats(data.tint ?? "")),
];

/** Middle of the figure in a frame [m]. */
function middle(frame) {
  const points = parts.flatMap((part) => part.points(frame));
  const sum = new THREE.Vector3();
  for (const [x, y, z] of points) sum.add({ x, y, z });
  return sum.divideScalar(Math.max(points.length, 1));
}

/** Radius of the figure in the first frame, for the camera and the shadow [m]. */
function reach() {
  return Math.max(0.1, ...parts.map((part) => part.reach(middle(0))));
}

/** Lowest height of the figure in all frames [m]. */
function lowest() {
  let z = Infinity;
  for (let frame = 0; frame < data.frames; frame++) {
    z = Math.min(z, ...parts.map((part) => part.lowest(frame)));
  }
  return Number.isFinite(z) ? z : 0;
}

