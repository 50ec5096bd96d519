"""Data that stays in memory: files -> tensors -> batches."""
