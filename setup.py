"""Where the packages lie: medseg, its recipes (configs/ becomes medseg/configs), and the napari plugin.

Everything else about the distribution is in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["medseg*"]), *find_packages("napari_plugin"), "medseg.configs"],
    package_dir={"medseg.configs": "configs", "napari_medseg": "napari_plugin/napari_medseg"},
)
