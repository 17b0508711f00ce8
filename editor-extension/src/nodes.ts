// The tree's content as plain values. Pure; test/nodes.test.ts.

import type { Conflict, Forward, Project, Run } from "./model.ts";
import { facts, linkText, runText } from "./text.ts";

type Shown = { label: string; description: string; tooltip?: string; icon?: string };
type Subject = { run?: Run; forward?: Forward; conflict?: Conflict };
/** `id` is unique in the project's `folder`, `kind` is `viewItem` in menus, `click` the
 * command of a click, which gets the node. */
export type Node = Shown & Subject & { folder: string; id: string; kind: string; click?: string; children?: Node[] };

export function projectNode(project: Project): Node {
  const { folder, name: label } = project.status;
  const description = linkText(project.status);
  return { folder, id: "", kind: "project", label, description, icon: "folder", children: sections(project) };
}

export function sections({ status, conflicts }: Project): Node[] {
  const { folder, runs, forwards } = status;
  const section = (id: string, label: string, icon: string, children: Node[], text?: string): Node => {
    const description = text ?? (children.length ? `${children.length}` : "none");
    return { folder, id, kind: id, label, description, icon, children };
  };
  const about = facts(status).map(([label, description]): Node => {
    return { folder, id: `vm/${label}`, kind: "fact", label, description, tooltip: description };
  });
  const toDecide = conflicts.map((one) => conflictNode(folder, one));
  const running = runs.map((one) => runNode(folder, one));
  const ports = forwards.map((one) => forwardNode(folder, one));
  return [
    ...(toDecide.length ? [section("conflicts", "Conflicts", "warning", toDecide)] : []),
    section("vm", "VM", "vm", about, linkText(status)),
    section("runs", "Runs", "play-circle", running),
    section("forwards", "Ports", "radio-tower", ports),
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

function forwardNode(folder: string, forward: Forward): Node {
  const { name: label, localPort, remotePort } = forward;
  const description = `127.0.0.1:${localPort} \u2192 ${remotePort} on the VM`;
  const shown = { label, description, icon: "plug", click: "openForward" };
  return { folder, id: `forwards/${localPort}`, kind: "forward", ...shown, forward };
}

function conflictNode(folder: string, conflict: Conflict): Node {
  const shown = {
    label: conflict.path,
    description: "changed here and on the VM",
    icon: "diff",
    click: "showConflict",
  };
  return { folder, id: `conflicts/${conflict.path}`, kind: "conflict", ...shown, conflict };
}
