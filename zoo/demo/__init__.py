"""The page of ``zoo demo``: draw, and see what a net makes of it. Needs the extra ``demo``, which `app` imports."""
