"""`python -m wherryd`."""

from wherryd.main import main

main()
