from online_migrate import run_environment

run_environment()
