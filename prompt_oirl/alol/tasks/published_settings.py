"""Lengths and training settings of A-LoL's published scripts, where a task has them; `-e` trains by epochs as
they do."""

from __future__ import annotations

from prompt_oirl.alol.tasks.task import Settings

# 4-bit LLaMA-7B: batches of 4, four accumulated (pass -as 4), 9000 updates, constant rate.
HH = Settings(
    reference_steps=9000,
    reference_rate=2e-4,
    steps=9000,
    rate=2e-4,
    batch_size=4,
    validations=10,
    value_epochs=10,
    value_rate=1e-5,
    value_samples=1,
)
# One pass (-e 1), 16 validations.
COMET = Settings(
    reference_steps=20_000,
    reference_rate=2e-5,
    steps=20_000,
    rate=2e-5,
    batch_size=16,
    validations=16,
    value_epochs=5,
    value_rate=2e-5,
    value_samples=1,
)
# DialoGPT-medium: batches of 8, two accumulated (-as 2), six passes for the reference (-e 6), three on top
# (-e 3).
DIALOGUE = Settings(
    reference_steps=36_000,
    reference_rate=2e-5,
    steps=18_000,
    rate=2e-5,
    batch_size=8,
    validations=6,
    value_epochs=5,
    value_rate=2e-5,
    value_samples=1,
)
END = "<|endoftext|>"
COLA, DEPTH = "textattack/roberta-base-CoLA", "microsoft/DialogRPT-depth"
UPDOWN, FAITH = "microsoft/DialogRPT-updown", "McGill-NLP/roberta-large-faithcritic"
TOXICHAT = "data/fetched/by_hand/DGPT_medium_OC_S_and_SBF_offensive_e2"
CRITIC = "data/comet_critic"  # scripts/convert_critic.py's default
