// Commands about programs on the VM: run, debug, stop, look at.

import { basename } from "node:path";
import * as vscode from "vscode";
import type { Arguments, Devsync } from "./client.ts";
import type { Debugging } from "./debug.ts";
import type { Run } from "./model.ts";
import type { Node } from "./nodes.ts";
import type { Outputs } from "./output.ts";
import { say } from "./ports.ts";
import { chosen, fileOf, type Target } from "./projects.ts";
import { runText } from "./text.ts";

/** Starts a program and shows its output; answers when it has started. */
export function starter(devsync: Devsync, outputs: Outputs) {
  return async (args: Arguments): Promise<void> => {
    await vscode.workspace.saveAll(false);
    const { run } = await devsync.job<{ run: string }>("run", args);
    outputs.bring((args.folder ?? args.file) as string, run);
  };
}

export function runCommands(devsync: Devsync, outputs: Outputs, debugging: Debugging) {
  const start = starter(devsync, outputs);
  const isRunning = ({ state }: Run) => state === "running";
  const pick = async (folder: string, target: Target | Node, title: string, fits: (run: Run) => boolean) => {
    if (target && "run" in target && target.run) return target.run.run;
    const { runs } = await devsync.command<{ runs: Run[] }>("runs", { folder });
    const item = (run: Run) => ({ label: run.run, description: runText(run), detail: run.argv.join(" ") });
    const items = runs.filter(fits).map(item);
    if (!items.length) throw new Error("There is no such run on the VM.");
    return chosen(await vscode.window.showQuickPick(items.reverse(), { title })).label;
  };
  const attach = async (folder: string, target: Target) =>
    outputs.show(folder, await pick(folder, target, "Show the output of which run?", () => true));
  return {
    run: (folder: string, target: Target) => start({ folder, file: pythonFile(target).fsPath }),
    runEntry: (folder: string) => start({ folder }),
    debug: (_: string, target: Target) => {
      const file = pythonFile(target);
      return debugging.start(file, { name: `Colab VM: ${basename(file.fsPath)}`, program: file.fsPath });
    },
    debugRun: async (folder: string, target: Target) => {
      const run = await pick(folder, target, "Debug which run?", isRunning);
      await debugging.start(vscode.Uri.file(folder), { name: `Colab VM: ${run}`, request: "attach", run, folder });
    },
    runs: (folder: string) => attach(folder, undefined),
    attach: (folder: string, target: Target) => attach(folder, target),
    stop: async (folder: string, target: Target) => {
      const run = await pick(folder, target, "Stop which run?", isRunning);
      const { state, message } = await devsync.command<Run>("stop", { folder, run });
      if (message) void vscode.window.showWarningMessage(`${run} is ${message}.`);
      else say(`$(debug-stop) ${run}: ${state === "running" ? "told to stop" : "stopped"}`);
    },
  };
}

function pythonFile(target: Target): vscode.Uri {
  const file = fileOf(target);
  if (!file) throw new Error("Open a Python file of the project first.");
  return file;
}
