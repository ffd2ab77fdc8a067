"""A study of what synthetic patients have to vary in, so that networks trained on them label phantoms and real CTs.

Each row trains both networks anew, with one part of the rendering more that varies than in the row before.
"""
