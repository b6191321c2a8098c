"""Where runs execute: one Protocol, this machine behind it."""
