"""Pick, propose and train prompts for language models from the log of what already worked."""

import logging

__version__ = "0.1.0"

# transformers imports it wherever it is installed, and it then complains of a kernel that no step here needs.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
