"""From a preprocessed image to class probabilities.

predict         windows, blending, mirrored copies
sliding_window  the windows' size, places and weighted mean
"""
