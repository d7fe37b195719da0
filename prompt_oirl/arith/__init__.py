"""The embedded benchmark: word problems of our own making, and the tiny language model that answers them.

`equations` and `families` hold the material, `problems` draws one problem, `benchmark` the splits;
`phrasings` makes the prompts, `answers` writes an answer in the style a prompt asks for, `mix` says what the
model is trained on, `network` and `training` make the model, `nano_tables` measures it.
"""
