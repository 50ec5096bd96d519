from lit_dl.command import main

main()
