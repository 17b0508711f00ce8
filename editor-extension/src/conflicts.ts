// Conflicts: compare in the diff editor, then keep one of both versions.

import { join } from "node:path";
import * as vscode from "vscode";
import type { Devsync } from "./client.ts";
import type { Conflict } from "./model.ts";
import type { Node } from "./nodes.ts";
import { chosen, fileOf, type Projects, type Target } from "./projects.ts";

export function conflictCommands(devsync: Devsync, projects: Projects) {
  const all = () =>
    projects.all.flatMap(({ status: { folder }, conflicts }) =>
      conflicts.map(({ path }) => ({ folder, path, local: join(folder, path), label: path, description: folder })),
    );

  const find = async (target: Target | Node) => {
    const conflict = target && "conflict" in target && target.conflict;
    const local = conflict ? join(target.folder, conflict.path) : fileOf(target)?.fsPath;
    const [first, ...more] = all();
    if (!first) throw new Error("There are no conflicts.");
    const here = [first, ...more].find((one) => one.local === local);
    if (here || !more.length) return here ?? first;
    return chosen(await vscode.window.showQuickPick([first, ...more], { title: "Which conflict?" }));
  };

  /** The VM's version on the left, mine on the right, where it can be edited. */
  const show = async (target: Target) => {
    const { folder, path, local } = await find(target);
    const { conflicts } = await devsync.command<{ conflicts: Conflict[] }>("conflicts", { folder });
    const copy = conflicts.find((one) => one.path === path)?.remote_copy;
    if (!copy) throw new Error(`The VM's version of ${path} has not been fetched yet; is the link up?`);
    const title = `${path} (on the VM \u2194 here)`;
    await vscode.commands.executeCommand("vscode.diff", vscode.Uri.file(copy), vscode.Uri.file(local), title);
  };

  const keep = async (target: Target, version: "local" | "remote") => {
    const { folder, path, local } = await find(target);
    const document = vscode.workspace.textDocuments.find(({ uri }) => uri.fsPath === local);
    if (document?.isDirty && version === "remote") {
      const text = `${path} has changes that are not saved. Take the VM's version all the same?`;
      const discard = "Discard My Changes";
      if ((await vscode.window.showWarningMessage(text, { modal: true }, discard)) !== discard) return;
      await vscode.window.showTextDocument(document);
      await vscode.commands.executeCommand("workbench.action.files.revert");
    }
    await document?.save();
    await devsync.job("resolve", { folder, path, keep: version });
  };

  return {
    showConflict: (_: string, target: Target) => show(target),
    conflicts: (_: string, target: Target) => show(target),
    keepLocal: (_: string, target: Target) => keep(target, "local"),
    keepRemote: (_: string, target: Target) => keep(target, "remote"),
    resolve: async (_: string, target: Target) => {
      await show(target);
      const [mine, theirs] = ["Keep My Version", "Take the VM's Version"];
      const options = { title: "Which version stays?", ignoreFocusOut: true };
      const picked = chosen(await vscode.window.showQuickPick([mine, theirs], options));
      await keep(target, picked === mine ? "local" : "remote");
    },
  };
}
