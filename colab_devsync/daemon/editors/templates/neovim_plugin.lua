-- colab-devsync: starts the server in projects with a .colabremote.toml, shows what
-- programs on the VM print, and adds :Devsync and a configuration for nvim-dap.
if vim.fn.has("nvim-0.11") == 0 then
  return
end

local NAME = "colab_devsync"
local PREFIX = "devsync."

vim.lsp.enable(NAME)

local function notify(text, level)
  vim.notify("colab-devsync: " .. text, level or vim.log.levels.INFO)
end

-- The client of the current buffer's project, else any.
local function client()
  return vim.lsp.get_clients({ name = NAME, bufnr = 0 })[1]
    or vim.lsp.get_clients({ name = NAME })[1]
end

local function commands(found)
  local provider = found.server_capabilities.executeCommandProvider or {}
  local names = {}
  for _, id in ipairs(provider.commands or {}) do
    if vim.startswith(id, PREFIX) then
      names[#names + 1] = id:sub(#PREFIX + 1)
    end
  end
  table.sort(names)
  return names
end

-- One buffer for all output; opened when there is something to see.
local output = -1

local function show(text)
  if not vim.api.nvim_buf_is_valid(output) then
    output = vim.api.nvim_create_buf(false, true)
    vim.api.nvim_buf_set_name(output, "colab-devsync://output")
  end
  local last = vim.api.nvim_buf_get_lines(output, -2, -1, false)[1] or ""
  local lines = vim.split(last .. text:gsub("\r\n", "\n"), "\n", { plain = true })
  vim.api.nvim_buf_set_lines(output, -2, -1, false, lines)
  local windows = vim.fn.win_findbuf(output)
  if #windows == 0 then
    vim.cmd("botright 12split")
    vim.api.nvim_win_set_buf(0, output)
    vim.cmd("wincmd p")
    windows = vim.fn.win_findbuf(output)
  end
  for _, window in ipairs(windows) do
    vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(output), 0 })
  end
end

vim.lsp.handlers["colabDevsync/output"] = function(_, params)
  show(params.text)
end

vim.lsp.handlers["colabDevsync/run"] = function(_, params)
  if params.exitCode then
    notify(("%s exited with %d"):format(params.run, params.exitCode))
  end
end

-- For a status line: vim.g.colab_devsync.link is "online", "lost" …
vim.lsp.handlers["colabDevsync/status"] = function(_, params)
  vim.g.colab_devsync = params
end

-- A program waits for a debugger: nvim-dap attaches, where it is installed.
local function attach(configuration)
  local there, dap = pcall(require, "dap")
  if there then
    dap.run(vim.tbl_extend("force", configuration, { type = "colab-devsync" }))
  else
    local connect = configuration.connect
    notify(("a debugger can attach to %s:%d"):format(connect.host, connect.port))
  end
end

vim.lsp.handlers["colabDevsync/job"] = function(_, params)
  local result = params.state == "done" and params.result or {}
  if result.configuration then
    attach(result.configuration)
  end
end

vim.lsp.handlers["colabDevsync/mirrored"] = function() end

local TAKES_FILE = { run = true, debug = true }

-- :Devsync NAME [KEY=VALUE …]; run and debug take the open file by themselves.
local function devsync(given)
  local found = client()
  if not found then
    notify("no project here: open a file below a .colabremote.toml", vim.log.levels.WARN)
    return
  end
  local name = table.remove(given.fargs, 1)
  -- The server shows what comes of it; of run and debug we do, above.
  local arguments = { folder = found.root_dir, show = not TAKES_FILE[name] or nil }
  for _, word in ipairs(given.fargs) do
    local key, value = word:match("^(%w+)=(.*)$")
    if not key then
      notify("not KEY=VALUE: " .. word, vim.log.levels.ERROR)
      return
    end
    local known, plain = pcall(vim.json.decode, value)
    arguments[key] = known and plain or value
  end
  local file = vim.api.nvim_buf_get_name(0)
  local named = arguments.file or arguments.module or arguments.run or arguments.pid
  if TAKES_FILE[name] and not named and vim.bo.filetype == "python" then
    vim.cmd("silent update")
    arguments.file = file
  end
  local command = { title = name, command = PREFIX .. name, arguments = { arguments } }
  found:exec_cmd(command, { bufnr = 0 }, function(error)
    if error then
      notify(error.message, vim.log.levels.ERROR)
    end
  end)
end

vim.api.nvim_create_user_command("Devsync", devsync, {
  nargs = "+",
  desc = "colab-devsync: run, debug, pull … on the VM",
  complete = function(lead)
    local found = client()
    return vim.tbl_filter(function(name)
      return vim.startswith(name, lead)
    end, found and commands(found) or {})
  end,
})

-- nvim-dap, where it is installed: the adapter starts the file on the VM.
local function with_dap()
  local there, dap = pcall(require, "dap")
  if not there then
    return
  end
  dap.adapters["colab-devsync"] = function(callback, config)
    if config.request == "attach" and config.connect then
      -- A child process, or a program that waits already.
      callback({ type = "server", host = config.connect.host, port = config.connect.port })
    else
      local words = { @COMMAND@, "dap" }
      callback({
        type = "executable",
        command = table.remove(words, 1),
        args = words,
        options = { initialize_timeout_sec = 30 },
      })
    end
  end
  dap.configurations.python = dap.configurations.python or {}
  table.insert(dap.configurations.python, {
    type = "colab-devsync",
    request = "launch",
    name = "Colab: debug this file",
    program = "${file}",
    cwd = "${workspaceFolder}",
  })
end

vim.api.nvim_create_autocmd("VimEnter", { once = true, callback = with_dap })
