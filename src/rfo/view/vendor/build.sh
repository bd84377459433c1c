#!/bin/bash
# Bundles the part of three.js that replay.js uses into three.js beside this file. Needs npm.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund three@0.187.0 esbuild
cat >entry.js <<'JS'
export {
  BufferAttribute, BufferGeometry, CanvasTexture, CapsuleGeometry, Color, CylinderGeometry, DirectionalLight,
  DoubleSide, Fog, FrontSide, Group, HemisphereLight, Mesh, MeshStandardMaterial, NeutralToneMapping, PCFShadowMap,
  PerspectiveCamera, PlaneGeometry, PMREMGenerator, RepeatWrapping, Scene, SphereGeometry, SRGBColorSpace, Vector3,
  WebGLRenderer,
} from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
export { RoomEnvironment } from "three/examples/jsm/environments/RoomEnvironment.js";
export { RoundedBoxGeometry } from "three/examples/jsm/geometries/RoundedBoxGeometry.js";
JS
npx esbuild entry.js --bundle --minify --format=iife --global-name=THREE --legal-comments=none \
  --log-level=warning --outfile="$here/three.js"
cp node_modules/three/LICENSE "$here/LICENSE.three"
