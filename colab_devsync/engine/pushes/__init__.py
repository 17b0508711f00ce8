"""Data that goes out: resumable, parallel, never in the way of a save."""
