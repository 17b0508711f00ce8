"""Much data on one link, and the saves that must not wait behind it."""
