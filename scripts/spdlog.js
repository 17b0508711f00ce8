// Stands in for VS Code's logger, which is native and would have to be compiled: output
// channels are files that it writes. scripts/install-vscode.sh puts it in place.
const fs = require("fs");
const path = require("path");

const LEVELS = ["trace", "debug", "info", "warn", "error", "critical"];
const SHOWN = ["trace", "debug", "info", "warning", "error", "critical"];

class Logger {
  constructor(type, name, file) {
    this.file = file;
    this.level = 2;
    this.bare = false;
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.closeSync(fs.openSync(file, "a"));
  }
  write(level, text) {
    if (level < this.level) return;
    const time = new Date().toISOString().replace("T", " ").replace("Z", "");
    fs.appendFileSync(this.file, this.bare ? text : `${time} [${SHOWN[level]}] ${text}\n`);
  }
  getLevel() {
    return this.level;
  }
  setLevel(level) {
    this.level = level;
  }
  clearFormatters() {
    this.bare = true;
  }
  setPattern() {}
  flush() {}
  drop() {}
}
LEVELS.forEach((name, level) => {
  Logger.prototype[name] = function (text) {
    this.write(level, text);
  };
});

const create = async (name, file) => new Logger("", name, file);
exports.version = 1;
exports.Logger = Logger;
exports.setLevel = () => {};
exports.setFlushOn = () => {};
exports.createRotatingLogger = create;
exports.createAsyncRotatingLogger = create;
