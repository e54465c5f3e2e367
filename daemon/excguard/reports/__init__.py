"""Crash reports and debugger lines in, Violations out."""
