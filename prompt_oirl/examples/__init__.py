"""A log to try everything on, which comes with the package; `scripts/make_example_log.py --shipped` makes it.

300 questions of sums that the tiny model of data/nano_llama answered with four prompts, 30 % of the answers
missing, and 20 questions that are not in the log.
"""

from pathlib import Path

LOG = Path(__file__).with_name("arith_log.csv.gz")
QUESTIONS = Path(__file__).with_name("arith_questions.csv")
