"""Files in and out: paths, atomic writing, manifests, tables, downloads."""
