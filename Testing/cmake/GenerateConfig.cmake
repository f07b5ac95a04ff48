# The real one writes the file by which other extensions find this one; none needs it here.

set(standin_config_generated TRUE)
