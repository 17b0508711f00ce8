"""Google's own SSH endpoint of a Colab runtime. Start reading at link.py."""
