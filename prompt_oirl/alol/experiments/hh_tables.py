"""x"""

from prompt_oirl.alol.experiments.hh_settings import HHOptions


def write_tables(options: HHOptions) -> None:
    pass
