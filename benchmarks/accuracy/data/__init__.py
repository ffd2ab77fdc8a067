"""The cases of the study: commands that write each as a compressed array of HU and labels, the box around a liver.

`phantoms` makes plain phantoms and phantoms around real anatomies, `rendered` scenes with contrast and noise of their
own, `real_ct` brings labeled CTs onto the grid of these.
"""
