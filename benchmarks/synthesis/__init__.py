"""A study of what has to vary in synthetic patients, so that networks trained on them label phantoms and real CTs.

Each row trains both networks anew. One more part of the rendering varies than in the row before.
"""
