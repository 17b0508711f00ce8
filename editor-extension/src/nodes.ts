// The tree's content as plain values. Pure; test/nodes.test.ts.

import { resolve } from "node:path";
import type { Conflict, Forward, Project, Pull, Run } from "./model.ts";
import { bytes, count, facts, linkText, runText } from "./text.ts";

type Shown = { label: string; description: string; tooltip?: string; icon?: string };
type Subject = { run?: Run; forward?: Forward; conflict?: Conflict; file?: string };
/** `id` is unique in the project's `folder`, `kind` is `viewItem` in menus, `click` the
 * command of a click, which gets the node. */
export type Node = Shown & Subject & { folder: string; id: string; kind: string; click?: string; children?: Node[] };

export function projectNode(project: Project): Node {
  const { folder, name: label } = project.status;
  const description = linkText(project.status);
  return { folder, id: "", kind: "project", label, description, icon: "folder", children: sections(project) };
}

export function sections({ status, conflicts }: Project): Node[] {
  const { folder, runs, forwards, pulls = [] } = status;
  const section = (id: string, label: string, icon: string, children: Node[], text?: string): Node => {
    const description = text ?? (children.length ? `${children.length}` : "none");
    return { folder, id, kind: id, label, description, icon, children };
  };
  const about = facts(status).map(([label, description]): Node => {
    return { folder, id: `vm/${label}`, kind: "fact", label, description, tooltip: description };
  });
  const toDecide = conflicts.map((one) => conflictNode(folder, one));
  const running = runs.map((one) => runNode(folder, one));
  const debuggers = new Set(runs.filter(({ kind }) => kind === "debug").map(({ run }) => run));
  const open = forwards.filter(({ name }) => !debuggers.has(name));
  const ports = open.map((one) => forwardNode(folder, one));
  const checkpoints = pulls.map((one) => pullNode(folder, one));
  return [
    ...(toDecide.length ? [section("conflicts", "Conflicts", "warning", toDecide)] : []),
    section("vm", "VM", "vm", about, linkText(status)),
    section("runs", "Runs", "play-circle", running),
    section("forwards", "Ports", "radio-tower", ports),
    ...(pulls.length ? [section("checkpoints", "Checkpoints", "archive", checkpoints)] : []),
  ];
}

function runNode(folder: string, run: Run): Node {
  const ended = run.state === "lost" ? "circle-slash" : run.exitCode === 0 ? "pass" : "error";
  const icon = run.state === "running" ? "sync~spin" : ended;
  const description = run.kind === "run" ? runText(run) : `${run.kind}, ${runText(run)}`;
  const tooltip = `${run.argv.join(" ")}${run.pid ? `\nprocess ${run.pid}` : ""}`;
  const kind = `run-${run.kind}-${run.state}`;
  return { folder, id: `runs/${run.run}`, kind, label: run.run, description, tooltip, icon, click: "attach", run };
}

/** Only what speaks HTTP can be opened; `ssh` is for terminals and other tools. */
function forwardNode(folder: string, forward: Forward): Node {
  const { name: label, localPort, remotePort } = forward;
  const description = `127.0.0.1:${localPort} \u2192 ${remotePort}`;
  const tooltip = `Port ${remotePort} of the VM is ${localPort} here, on 127.0.0.1 only`;
  const about = label === "ssh" ? { kind: "ssh" } : { kind: "forward", click: "openForward" };
  return { folder, id: `forwards/${localPort}`, label, description, tooltip, icon: "plug", ...about, forward };
}

function conflictNode(folder: string, conflict: Conflict): Node {
  const { path: label } = conflict;
  const shown = { label, description: "changed on the VM", icon: "diff", click: "showConflict" };
  return { folder, id: `conflicts/${label}`, kind: "conflict", ...shown, conflict };
}

/** A pull rule: what is here, what comes, and what only the VM has. */
function pullNode(folder: string, pull: Pull): Node {
  const id = `checkpoints/${pull.name}`;
  const line = (kind: string, label: string, description: string, icon: string): Node => {
    return { folder, id: `${id}/${kind}`, kind: `pull-${kind}`, label, description, icon };
  };
  const { newest, local, waiting, waitingBytes, onlyThere, writing } = pull;
  const [file, size] = [resolve(folder, local, newest ?? ""), bytes(waitingBytes)];
  const children = [
    ...(newest ? [{ ...line("newest", newest, "newest here", "file-binary"), file }] : []),
    ...(waiting ? [line("waiting", count(waiting, "file"), `on the way, ${size}`, "cloud-download")] : []),
    ...(writing ? [line("writing", count(writing, "file"), "still written", "edit")] : []),
    ...(onlyThere > waiting ? [line("there", count(onlyThere, "file"), "only on the VM", "cloud")] : []),
  ];
  const { name: label, message = `From ${pull.remote}`, state } = pull;
  const description = state === "failed" ? message : `${pull.here} here, ${state}`;
  return { folder, id, kind: "pull", label, description, tooltip: message, icon: "folder", children };
}
