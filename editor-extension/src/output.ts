// One output channel per run. Paths of the VM in it lead to the files here.

import { existsSync } from "node:fs";
import { join } from "node:path";
import * as vscode from "vscode";
import type { Devsync } from "./client.ts";
import type { Projects } from "./projects.ts";
import { ATTACH, OUTPUT, RUN, type RunBody, type RunOutputBody } from "./protocol.ts";
import { links, plain, runText } from "./text.ts";

const LANGUAGE = "colab-devsync-output";
const KEPT = 12;

export class Outputs implements vscode.DocumentLinkProvider {
  private readonly channels = new Map<string, vscode.OutputChannel>();

  constructor(
    private readonly devsync: Devsync,
    private readonly projects: Projects,
  ) {
    devsync.on<RunOutputBody>(OUTPUT, ({ folder, run, text }) => {
      if (folder) this.channel(folder, run).append(plain(text));
    });
    devsync.on<RunBody>(RUN, (body) => this.ended(body));
  }

  register(): vscode.Disposable[] {
    const all = { dispose: () => this.channels.forEach((channel) => channel.dispose()) };
    return [vscode.languages.registerDocumentLinkProvider({ language: LANGUAGE }, this), all];
  }

  /** Brings it to the front; of a run that this window did not start, all its output. */
  async show(folder: string, run: string): Promise<void> {
    const isNew = !this.channels.has(`${folder}\n${run}`);
    this.bring(folder, run);
    if (isNew) await this.devsync.request(ATTACH, { folder, run });
  }

  /** A run of ours began: its output, which comes by itself, is brought to the front. */
  bring(folder: string, run: string): void {
    this.channel(this.projects.of(folder)?.status.folder ?? folder, run).show(true);
  }

  private channel(folder: string, run: string): vscode.OutputChannel {
    const key = `${folder}\n${run}`;
    const known = this.channels.get(key);
    if (known) return known;
    const [oldest] = this.channels;
    if (oldest && this.channels.size >= KEPT) {
      oldest[1].dispose();
      this.channels.delete(oldest[0]);
    }
    const project = this.projects.all.length > 1 ? `${this.projects.of(folder)?.status.name}: ` : "";
    const made = vscode.window.createOutputChannel(`Colab VM: ${project}${run}`, LANGUAGE);
    this.channels.set(key, made);
    return made;
  }

  private ended(body: RunBody): void {
    const channel = this.channels.get(`${body.folder}\n${body.run}`);
    if (!channel || body.attached !== false || body.state === "running") return;
    channel.appendLine(`\n[${body.run}: ${runText(body)}]`);
  }

  provideDocumentLinks(document: vscode.TextDocument): vscode.DocumentLink[] {
    const lines = document.getText().split("\n");
    return this.projects.all.flatMap(({ status: { folder, vm } }) =>
      vm ? lines.flatMap((text, number) => linksIn(text, number, vm.root, folder)) : [],
    );
  }
}

function linksIn(text: string, number: number, root: string, folder: string): vscode.DocumentLink[] {
  const inside = text.includes(root) ? links(text, root) : [];
  const found = inside.filter(({ path }) => existsSync(join(folder, path)));
  return found.map(({ start, length, path, line }) => {
    const range = new vscode.Range(number, start, number, start + length);
    const target = vscode.Uri.file(join(folder, path)).with({ fragment: line ? `L${line}` : "" });
    return new vscode.DocumentLink(range, target);
  });
}
