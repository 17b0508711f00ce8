import assert from "node:assert/strict";
import { test } from "node:test";
import type { Status } from "../src/model.ts";
import { bytes, duration, hostAndPort, links, plain, runText, statusText } from "../src/text.ts";

const STATUS: Status = {
  folder: "/home/me/seg",
  name: "seg",
  link: "online",
  rttMs: 52.4,
  pending: 0,
  files: 3,
  conflicts: 0,
  problems: [],
  runs: [],
  forwards: [],
};

test("the status bar says link, round trip, what is to send and to decide", () => {
  assert.equal(statusText(STATUS), "$(vm-active) seg  52 ms");
  assert.match(statusText({ ...STATUS, link: "lost" }), /connection lost/);
  assert.match(statusText({ ...STATUS, pending: 2, conflicts: 1 }), /upload\) 2 .*1 conflict$/);
});

test("numbers are for people", () => {
  assert.deepEqual([0, 999, 1500, 15e9].map(bytes), ["0 B", "999 B", "1.5 kB", "15 GB"]);
  assert.deepEqual([59, 3700, 90061].map(duration), ["0 min", "1 h 1 min", "1 d 1 h"]);
});

test("a run that ended says how", () => {
  const run = { run: "train-1", kind: "run" } as const;
  assert.equal(runText({ ...run, state: "exited", exitCode: 0 }), "done");
  assert.equal(runText({ ...run, state: "exited", exitCode: 3 }), "exit code 3");
  assert.equal(runText({ ...run, state: "exited", exitCode: 137, signal: "SIGKILL" }), "SIGKILL");
});

test("output loses colours and the past of progress bars", () => {
  assert.equal(plain("\u001b[31mred\u001b[0m\r\n"), "red\n");
  assert.equal(plain("10%\r20%\r30%\nnext"), "30%\nnext");
  assert.equal(plain("10%\r20%\r"), "20%\n");
  assert.equal(plain("a\ud800b"), "a\ufffdb");
});

test("paths of the VM in output are found with their lines", () => {
  const root = "/content/seg";
  const line = 'File "/content/seg/my pkg/train.py", line 12, in main';
  assert.deepEqual(links(line, root), [{ start: 6, length: 38, path: "my pkg/train.py", line: 12 }]);
  assert.deepEqual(links("saved /content/seg/a.pt:7 (ok)", root), [{ start: 6, length: 19, path: "a.pt", line: 7 }]);
  assert.deepEqual(links("/content/segments/a.py", root), []);
});

test("a host and its port are told apart", () => {
  assert.deepEqual(hostAndPort("203.0.113.7:2222"), { host: "203.0.113.7", port: 2222 });
  assert.deepEqual(hostAndPort(" vm.example.com "), { host: "vm.example.com" });
  assert.deepEqual(hostAndPort("[::1]:22"), { host: "::1", port: 22 });
});
