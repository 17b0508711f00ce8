// Finds the command that starts the language server: the setting, then PATH, then the
// Python extension's interpreter. Nothing else is searched.

import { execFile } from "node:child_process";
import { access, constants, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import * as vscode from "vscode";

const run = promisify(execFile);
const PROBE_MS = 20_000;

export class NoServer extends Error {}

/** The words before `lsp`, `run` and so on. NoServer if there is none. */
export async function findServer(): Promise<string[]> {
  const given = vscode.workspace.getConfiguration("colabDevsync").get<string[]>("serverCommand", []);
  if (given.length) return given;
  const onPath = await which("colab-devsync");
  if (onPath) return [onPath];
  const python = await interpreter();
  const module = ["-m", "colab_devsync"];
  const probe = (file: string) => run(file, [...module, "--version"], { timeout: PROBE_MS }).then(yes, no);
  if (python && (await probe(python))) return [python, ...module];
  throw new NoServer("The Python package colab-devsync was not found.");
}

async function which(name: string): Promise<string | undefined> {
  const file = process.platform === "win32" ? `${name}.exe` : name;
  for (const folder of (process.env.PATH ?? "").split(delimiter).filter(Boolean)) {
    const path = join(folder, file);
    const isFile = stat(path).then((found) => found.isFile(), no);
    if ((await isFile) && (await access(path, constants.X_OK).then(yes, no))) return path;
  }
  return undefined;
}

const [yes, no] = [() => true, () => false];

type Environment = { executable?: { uri?: vscode.Uri } };
type Environments = {
  getActiveEnvironmentPath(): { path: string };
  resolveEnvironment(active: { path: string }): Promise<Environment | undefined>;
};

/** What the Python extension has chosen for this workspace, if it is there. */
async function interpreter(): Promise<string | undefined> {
  const python = vscode.extensions.getExtension<{ environments?: Environments }>("ms-python.python");
  const environments = python && (await python.activate()).environments;
  if (!environments) return undefined;
  const active = environments.getActiveEnvironmentPath();
  const found = await environments.resolveEnvironment(active);
  return found?.executable?.uri?.fsPath ?? active.path;
}

/** Rejects with what pip said. */
export async function installServer(): Promise<void> {
  if (!vscode.workspace.isTrusted) throw new Error("Nothing is installed until you trust this folder.");
  const python = (await interpreter()) ?? (process.platform === "win32" ? "python" : "python3");
  const command = [python, "-m", "pip", "install", "colab-devsync"];
  const options = { location: vscode.ProgressLocation.Notification, title: command.join(" ") };
  await vscode.window.withProgress(options, () => run(command[0] ?? "", command.slice(1)));
}
