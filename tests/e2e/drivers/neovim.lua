-- Drives a headless Neovim as a person would, and writes what it saw as JSON lines to
-- $REPORT. $STEPS names the steps; $FAR is the project's folder on the "VM".
local report = assert(io.open(vim.env.REPORT, "w"))
local LIMIT_MS = 60000
local FAR = vim.env.FAR

local function tell(step, facts)
  report:write(vim.json.encode({ step = step, facts = facts }) .. "\n")
  report:flush()
end

local function wait(what, look)
  local found
  local ok = vim.wait(LIMIT_MS, function()
    found = look()
    return found
  end, 20)
  if not ok then
    error("waited in vain: " .. what)
  end
  return found
end

local function read(path)
  local file = io.open(path)
  if not file then
    return nil
  end
  local text = file:read("*a")
  file:close()
  return text
end

local function output()
  local buffer = vim.fn.bufnr("colab-devsync://output")
  return buffer > 0 and table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, false), "\n")
    or ""
end

local function diagnostics(buffer)
  return vim.tbl_map(function(one)
    return { line = one.lnum + 1, message = one.message, code = one.code }
  end, vim.diagnostic.get(buffer))
end

local mirrored = {}
local handler = vim.lsp.handlers["colabDevsync/mirrored"]
vim.lsp.handlers["colabDevsync/mirrored"] = function(error, params, ...)
  table.insert(mirrored, params.path)
  return handler(error, params, ...)
end

local steps = {}

function steps.online()
  local status = wait("online", function()
    local now = vim.g.colab_devsync
    return now and now.link == "online" and now.pending == 0 and now
  end)
  wait("the first mirror", function()
    return read(FAR .. "/train.py")
  end)
  tell("online", { link = status.link, folder = status.folder })
end

function steps.save()
  vim.api.nvim_buf_set_lines(0, 0, 1, false, { 'print("from Neovim")' })
  vim.cmd("write")
  wait("the save arrives", function()
    return vim.startswith(read(FAR .. "/train.py"), 'print("from Neovim")')
      and vim.tbl_contains(mirrored, "train.py")
  end)
  tell("save", { mirrored = mirrored })
end

function steps.run()
  tell("commands", vim.fn.getcompletion("Devsync r", "cmdline"))
  vim.cmd("Devsync run")
  wait("output", function()
    return output():find("ValueError: from the VM", 1, true)
  end)
  tell("run", output())
end

function steps.traceback()
  local found = wait("a diagnostic", function()
    local there = diagnostics(0)
    return #there > 0 and there
  end)
  tell("traceback", found)
end

function steps.status()
  local show, shown = vim.lsp.handlers["window/showMessage"], nil
  vim.lsp.handlers["window/showMessage"] = function(_, params)
    shown = shown or params.message
  end
  vim.cmd("Devsync status")
  tell("status", wait("the status in words", function()
    return shown
  end))
  vim.lsp.handlers["window/showMessage"] = show
end

function steps.config()
  vim.cmd("edit .colabremote.toml")
  wait("the server", function()
    return #vim.lsp.get_clients({ name = "colab_devsync", bufnr = 0 }) > 0
  end)
  vim.api.nvim_buf_set_lines(0, -1, -1, false, { "[snyc]" })
  local found = wait("a diagnostic", function()
    local there = diagnostics(0)
    return #there > 0 and there
  end)
  vim.cmd("edit!")
  tell("config", found)
end

function steps.other()
  -- Somebody else saves: we hear of it, too.
  local wanted = vim.env.OTHER
  wait("the other editor's save", function()
    return vim.tbl_contains(mirrored, wanted)
  end)
  tell("other", { mirrored = mirrored, status = vim.g.colab_devsync })
end

function steps.dap()
  local dap = require("dap")
  local configuration = dap.configurations.python[1]
  dap.adapters[configuration.type](function(adapter)
    tell("dap", { adapter = adapter, configuration = configuration })
  end, configuration)
end

function steps.debug()
  vim.cmd("Devsync debug")
  local dap = require("dap")
  tell("debug", wait("nvim-dap is told to attach", function()
    return dap.started
  end))
end

local function main()
  for name in vim.gsplit(vim.env.STEPS, ",") do
    local ok, problem = pcall(steps[name])
    if not ok then
      tell("failed", { step = name, problem = problem, output = output() })
      break
    end
  end
  report:close()
  vim.cmd("qall!")
end

-- Where nvim-dap is not installed, tables stand in its place: only the configuration
-- that is put into them is looked at.
package.preload["dap"] = function()
  local dap = { adapters = {}, configurations = {} }
  function dap.run(configuration)
    dap.started = configuration
  end
  return dap
end

vim.api.nvim_create_autocmd("VimEnter", { once = true, callback = vim.schedule_wrap(main) })
