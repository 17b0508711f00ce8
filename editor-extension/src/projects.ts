// What is known of each project: the newest status and its conflicts. Everything that is
// shown comes from here, so that nothing waits for the VM.

import { dirname, join } from "node:path";
import * as vscode from "vscode";
import type { Devsync } from "./client.ts";
import type { Conflict, Project, Pull, Status } from "./model.ts";
import { PULLS, STATUS, type PullsBody } from "./protocol.ts";

export class Projects {
  private readonly known = new Map<string, Project>();
  private readonly contexts = new Map<string, string>();
  private readonly event = new vscode.EventEmitter<void>();
  readonly onChange = this.event.event;

  constructor(private readonly devsync: Devsync) {
    devsync.on<Status>(STATUS, (status) => this.update(status));
    devsync.on<PullsBody>(PULLS, ({ folder, pulls }) => {
      const project = this.known.get(folder);
      if (project) this.update({ ...project.status, pulls: pulls as Pull[] });
    });
    devsync.onStopped(() => {
      for (const project of this.all) project.status = { ...project.status, link: "offline" };
      this.show();
    });
  }

  get all(): Project[] {
    return [...this.known.values()];
  }

  /** The innermost project that `path` is in. */
  of(path: string): Project | undefined {
    const project = this.known.get(path);
    return project || path === dirname(path) ? project : this.of(dirname(path));
  }

  /** That of the active editor, or the first. */
  get current(): Project | undefined {
    const path = vscode.window.activeTextEditor?.document.uri.fsPath;
    return (path && this.of(path)) || this.all[0];
  }

  update(status: Status): void {
    const old = this.known.get(status.folder);
    const conflicts = old?.conflicts ?? [];
    this.known.set(status.folder, { status, conflicts });
    this.show();
    const isCurrent = [old?.status.conflicts ?? 0, conflicts.length].every((one) => one === status.conflicts);
    if (!isCurrent) this.refreshConflicts(status.folder).catch((error) => this.devsync.log.warn(String(error)));
  }

  forget(folders: readonly vscode.WorkspaceFolder[]): void {
    for (const { uri } of folders) this.known.delete(uri.fsPath);
    this.show();
  }

  private async refreshConflicts(folder: string): Promise<void> {
    const { conflicts } = await this.devsync.command<{ conflicts: Conflict[] }>("conflicts", { folder });
    const project = this.known.get(folder);
    if (!project || JSON.stringify(conflicts) === JSON.stringify(project.conflicts)) return;
    project.conflicts = conflicts;
    this.show();
  }

  private show(): void {
    const inConflict = ({ status, conflicts }: Project) => conflicts.map(({ path }) => join(status.folder, path));
    this.setContext("hasProject", this.known.size > 0);
    const isOnline = ({ status }: Project) => status.link === "online";
    this.setContext("online", this.all.some(isOnline));
    this.setContext("conflicts", this.all.flatMap(inConflict));
    this.event.fire();
  }

  /** `colabDevsync.NAME` for `when` clauses; told only when it is another one. */
  private setContext(name: string, value: unknown): void {
    if (this.contexts.get(name) === JSON.stringify(value)) return;
    this.contexts.set(name, JSON.stringify(value));
    void vscode.commands.executeCommand("setContext", `colabDevsync.${name}`, value);
  }

  /** The server's `folder` for a command: the project of what it was called on, of the
   * active editor, the only one there is, or the one that a person picks. */
  async folder(target?: Target): Promise<string> {
    if (target && "folder" in target) return target.folder;
    const project = this.of(fileOf(target)?.fsPath ?? "/");
    const known = this.all.map(({ status }) => status.folder);
    return project?.status.folder ?? (known.length ? pickFolder(known) : this.newFolder());
  }

  /** An opened folder that is no project yet. */
  newFolder(): Promise<string> {
    const opened = (vscode.workspace.workspaceFolders ?? []).map(({ uri }) => uri.fsPath);
    return pickFolder(opened.filter((path) => !this.known.has(path)));
  }
}

async function pickFolder([first, ...more]: string[]): Promise<string> {
  if (!first) throw new Error("Open the folder of your project first.");
  return more.length ? chosen(await vscode.window.showQuickPick([first, ...more])) : first;
}

/** What a command was called on: a file, an element of the tree, or nothing. */
export type Target = vscode.Uri | { folder: string } | undefined;

export function fileOf(target?: Target): vscode.Uri | undefined {
  const uri = target instanceof vscode.Uri ? target : vscode.window.activeTextEditor?.document.uri;
  return uri?.scheme === "file" ? uri : undefined;
}

/** What somebody has picked; nothing goes on if they did not. */
export function chosen<T>(picked: T | undefined): T {
  if (picked === undefined) throw new vscode.CancellationError();
  return picked;
}
