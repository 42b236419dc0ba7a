"""`python -m pixyproxy.cli`."""

import sys

from pixyproxy.cli.main import main

sys.exit(main())
