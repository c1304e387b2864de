"""What no measurement justified in the core, and one-off studies. Nothing in the core imports it."""
