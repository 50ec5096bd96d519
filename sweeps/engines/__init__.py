"""Slots on devices, and the engines that run one worker in each slot: local processes or Ray actors."""
