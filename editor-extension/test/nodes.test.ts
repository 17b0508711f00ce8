import assert from "node:assert/strict";
import { test } from "node:test";
import type { Project } from "../src/model.ts";
import { sections } from "../src/nodes.ts";

const PROJECT: Project = {
  status: {
    folder: "/home/me/seg",
    name: "seg",
    link: "online",
    rttMs: 50,
    pending: 0,
    files: 3,
    conflicts: 1,
    problems: [],
    runs: [
      { run: "train-1", kind: "run", state: "running", argv: ["python3", "train.py"], pid: 7 },
      { run: "train-2", kind: "debug", state: "exited", argv: ["python3", "train.py"], exitCode: 1 },
    ],
    forwards: [
      { name: "gradio", remotePort: 7860, localPort: 7861, url: "http://127.0.0.1:7861/" },
      { name: "train-2", remotePort: 5678, localPort: 5679, url: "http://127.0.0.1:5679/" },
    ],
    pulls: [
      {
        ...{ name: "checkpoints", remote: "checkpoints", local: "checkpoints", state: "fetching", here: 2, waiting: 1 },
        ...{ waitingBytes: 2e9, onlyThere: 1, writing: 0, newest: "epoch-2.pt" },
      },
    ],
  },
  conflicts: [{ path: "a.py" }],
};

test("the tree shows conflicts first, and what can be done with each element", () => {
  const found = sections(PROJECT);
  assert.deepEqual(
    found.map(({ label, description }) => `${label}: ${description}`),
    ["Conflicts: 1", "VM: connected", "Runs: 2", "Ports: 1", "Checkpoints: 1"],
  );
  const leaves = found.flatMap(({ children }) => children ?? []).filter(({ click }) => click);
  assert.deepEqual(
    leaves.map(({ label, kind, description }) => [label, kind, description]),
    [
      ["a.py", "conflict", "changed on the VM"],
      ["train-1", "run-run-running", "running"],
      ["train-2", "run-debug-exited", "debug, exit code 1"],
      ["gradio", "forward", "127.0.0.1:7861 \u2192 7860"],
    ],
  );
  const ids = new Set(found.flatMap(({ id, children }) => [id, ...(children ?? []).map((one) => one.id)]));
  assert.equal(ids.size, found.length + found.reduce((sum, { children }) => sum + (children?.length ?? 0), 0));
});

test("a pull rule says what is here and what is on the way", () => {
  const rule = sections(PROJECT).at(-1)?.children?.[0];
  assert.equal(rule?.description, "2 here, fetching");
  assert.deepEqual(
    rule?.children?.map(({ label, description, file }) => [label, description, file]),
    [
      ["epoch-2.pt", "newest here", "/home/me/seg/checkpoints/epoch-2.pt"],
      ["1 file", "on the way, 2.0 GB", undefined],
    ],
  );
});

test("nothing to decide: no such section", () => {
  assert.equal(sections({ ...PROJECT, conflicts: [] })[0]?.label, "VM");
});
