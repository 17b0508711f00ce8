// Two files for the extension host: ours, small and quickly loaded, and the library for
// language clients, which it loads after activation. And the schema for TOML plug-ins.
import { copyFileSync, mkdirSync } from "node:fs";
import { build } from "esbuild";

const LIBRARY = "vscode-languageclient/node";
const later = {
  name: "later",
  setup({ onResolve }) {
    const found = { path: "./languageclient.js", external: true };
    onResolve({ filter: new RegExp(`^${LIBRARY}$`) }, ({ kind }) => (kind === "entry-point" ? null : found));
  },
};

mkdirSync("dist", { recursive: true });
copyFileSync("../colab_devsync/colabremote.schema.json", "dist/colabremote.schema.json");
copyFileSync("../LICENSE", "dist/LICENSE");
await build({
  entryPoints: { extension: "src/extension.ts", languageclient: LIBRARY },
  outdir: "dist",
  bundle: true,
  format: "cjs",
  platform: "node",
  target: "node20",
  supported: { "dynamic-import": false }, // require: the extension host knows `vscode` there
  external: ["vscode"],
  plugins: [later],
  minify: true,
  logLevel: "warning",
});
