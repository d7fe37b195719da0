"""Result tables and figures, made from results and CSVs."""
