"""OPRO: a language model, or a search, writes instructions from the scored history of earlier ones (arXiv
2309.03409).

Words of the field: an *instruction* is the prompt text that is optimised, the *optimizer* proposes
instructions from a *meta-prompt* that shows the *trajectory* of scored ones, the *scorer* says how good an
instruction is.
"""
