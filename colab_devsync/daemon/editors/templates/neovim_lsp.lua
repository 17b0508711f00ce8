-- colab-devsync: a saved file is on the VM one round trip later.
-- Neovim 0.11 reads this for vim.lsp.enable("colab_devsync").
return {
  cmd = { @COMMAND@, "lsp" },
  filetypes = { "python", "toml" },
  root_markers = { ".colabremote.toml" },
  workspace_required = true,
  init_options = { showsOutput = true }, -- plugin/colab_devsync.lua does
}
