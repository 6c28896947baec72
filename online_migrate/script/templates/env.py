from online_migrate import run_environment

# The MetaData of the application, for autogenerate:
# from myapp.models import Base; target_metadata = Base.metadata
target_metadata = None

run_environment(target_metadata)
