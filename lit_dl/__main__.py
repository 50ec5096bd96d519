from lit_dl.cli import main

main()
