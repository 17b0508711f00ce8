// The item in the status bar and its hover.

import * as vscode from "vscode";
import type { Status } from "./model.ts";
import type { Projects } from "./projects.ts";
import { facts, linkText, statusText } from "./text.ts";

/** Label, command, and whether it needs the link (or its absence). */
const LINKS: [string, string, boolean?][] = [
  ["$(plug) Connect", "connect", false],
  ["$(terminal) Terminal", "shell", true],
  ["$(graph-line) TensorBoard", "tensorboard", true],
  ["$(sync) Sync", "sync", true],
  ["$(pulse) Doctor", "doctor"],
];

export function createStatusBar(projects: Projects): vscode.Disposable[] {
  const item = vscode.window.createStatusBarItem("colabDevsync", vscode.StatusBarAlignment.Left, 50);
  item.name = "Colab VM";
  item.command = { command: "workbench.action.quickOpen", title: "Commands", arguments: [">Colab VM: "] };
  const show = () => {
    const status = projects.current?.status;
    if (!status) return item.hide();
    item.text = statusText(status);
    item.tooltip = hover(status);
    item.accessibilityInformation = { label: `Colab VM ${status.name}: ${linkText(status)}` };
    const alarm = status.link === "blocked" ? "error" : status.link === "lost" || status.conflicts ? "warning" : "";
    item.backgroundColor = alarm ? new vscode.ThemeColor(`statusBarItem.${alarm}Background`) : undefined;
    item.show();
  };
  return [item, projects.onChange(show), vscode.window.onDidChangeActiveTextEditor(show)];
}

function hover(status: Status): vscode.MarkdownString {
  const text = new vscode.MarkdownString("", true);
  text.isTrusted = { enabledCommands: LINKS.map(([, name]) => `colabDevsync.${name}`) };
  text.appendMarkdown("**").appendText(status.name).appendMarkdown("** \u00a0 ").appendText(linkText(status));
  text.appendMarkdown("\n\n| | |\n|:--|:--|\n");
  for (const [name, value] of facts(status)) {
    text.appendMarkdown(`| ${name}\u00a0\u00a0 | `);
    // An address would become a link for mail.
    (value.includes("@") ? text.appendMarkdown(`\`${value}\``) : text.appendText(value)).appendMarkdown(" |\n");
  }
  for (const { path, message, hint } of status.problems.slice(0, 5)) {
    const words = [path, message, hint].filter(Boolean).join(" ");
    text.appendMarkdown("\n$(warning) ").appendText(words).appendMarkdown("\n");
  }
  const fitting = LINKS.filter(([, , online]) => online === undefined || online === (status.link === "online"));
  const links = fitting.map(([label, name]) => `[${label}](command:colabDevsync.${name})`);
  return text.appendMarkdown(`\n---\n${links.join(" \u00a0 ")}`);
}
