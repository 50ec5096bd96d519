from lit_dl.cli.command import main

main()
