"""What an editor may say about a text: pure decisions on half-typed files."""
