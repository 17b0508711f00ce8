"""colab-devsync: save here, run there."""

__version__ = "0.1.0"
