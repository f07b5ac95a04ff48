"""An image with its geometry: never one without the other.

Owns reading, writing and conforming to a model's grid and back. Knows no models and no methods.
Coordinates are LPS millimetres, as in SimpleITK; arrays are ``(C, K, J, I)`` on the input's grid
and ``(C, k, j, i)`` on a model's.
"""
