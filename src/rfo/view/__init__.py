"""Replay pages of recorded episodes."""
