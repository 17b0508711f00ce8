// Conflicts: compare in the diff editor, then keep one of both versions.

import { join } from "node:path";
import * as vscode from "vscode";
import { guarded, type Devsync } from "./client.ts";
import type { Node } from "./nodes.ts";
import { chosen, fileOf, type Projects, type Target } from "./projects.ts";

type Found = { folder: string; path: string; local: string };
type Versions = { local: string; remote: string };

export function conflictCommands(devsync: Devsync, projects: Projects) {
  const all = () =>
    projects.all.flatMap(({ status: { folder }, conflicts }) =>
      conflicts.map(({ path }) => ({ folder, path, local: join(folder, path), label: path, description: folder })),
    );

  const find = async (target: Target | Node): Promise<Found> => {
    const conflict = target && "conflict" in target && target.conflict;
    const local = conflict ? join(target.folder, conflict.path) : fileOf(target)?.fsPath;
    const [first, ...more] = all();
    if (!first) throw new Error("There are no conflicts.");
    const here = [first, ...more].find((one) => one.local === local);
    if (here || !more.length) return here ?? first;
    return chosen(await vscode.window.showQuickPick([first, ...more], { title: "Which conflict?" }));
  };

  /** The VM's version on the left, mine on the right, where it can be edited. */
  const show = async ({ folder, path }: Found) => {
    const { local, remote } = await devsync.command<Versions>("compare", { folder, path });
    const title = `${path} (on the VM \u2194 here)`;
    await vscode.commands.executeCommand("vscode.diff", vscode.Uri.file(remote), vscode.Uri.file(local), title);
  };

  const keep = async ({ folder, path, local }: Found, version: "local" | "remote") => {
    const document = vscode.workspace.textDocuments.find(({ uri }) => uri.fsPath === local);
    if (document?.isDirty && version === "remote") {
      const text = `${path} has changes that are not saved. Take the VM's version all the same?`;
      const discard = "Discard My Changes";
      if ((await vscode.window.showWarningMessage(text, { modal: true }, discard)) !== discard) return;
      await vscode.window.showTextDocument(document);
      await vscode.commands.executeCommand("workbench.action.files.revert");
    }
    if (document?.isDirty && !(await document.save())) throw new Error(`${path} could not be saved.`);
    await devsync.job("resolve", { folder, path, keep: version });
  };

  return {
    showConflict: async (_: string, target: Target) => show(await find(target)),
    conflicts: async (_: string, target: Target) => show(await find(target)),
    keepLocal: async (_: string, target: Target) => keep(await find(target), "local"),
    keepRemote: async (_: string, target: Target) => keep(await find(target), "remote"),
    resolve: async (_: string, target: Target) => {
      const found = await find(target);
      await guarded(devsync.log, show)(found); // deleted on the VM: nothing to compare
      const [mine, theirs] = ["Keep My Version", "Take the VM's Version"];
      const options = { title: "Which version stays?", ignoreFocusOut: true };
      const picked = chosen(await vscode.window.showQuickPick([mine, theirs], options));
      await keep(found, picked === mine ? "local" : "remote");
    },
  };
}
